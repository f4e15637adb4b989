"""HLX data formats, profile "HLX-1": one value model, one binary form and several text forms."""
