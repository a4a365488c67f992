//! Architecture search under a latency budget.
