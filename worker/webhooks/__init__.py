"""Webhook deliveries: payloads, allowed addresses, attempts."""
