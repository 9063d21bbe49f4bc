//! One binary, one module per behaviour, through the front door with a real Postgres.
