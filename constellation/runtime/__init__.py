"""Sans-I/O logic of the actors: events in, decisions out, time as an argument."""
