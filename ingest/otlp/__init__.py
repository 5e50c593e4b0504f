"""OTLP/HTTP: spans taken in over the network with an ingest key, kept, and written as traces once they are whole."""
