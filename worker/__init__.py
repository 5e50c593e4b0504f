"""The refresh engine: signal SQL, publication, and the Celery shells around them."""
