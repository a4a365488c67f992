//! The elastic SuperPLM in candle: load, slice, score, extract.
