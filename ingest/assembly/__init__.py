"""Traces of other tools: their spans read, kept until a trace is whole, and written as runs, traces and steps."""
