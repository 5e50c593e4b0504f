"""The contract of the read layer as an OpenAPI 3.1 document, built from the same constants that the code checks."""
