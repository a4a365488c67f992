//! What a latency measurement is: protocol, records, statistics, files.
