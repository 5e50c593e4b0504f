"""The boundary between the parts: settings, database engines, table metadata, response contracts and errors."""
