"""Train one kernel: objective, optimiser steps, checkpoints and a clean stop. Knows no Ray."""
