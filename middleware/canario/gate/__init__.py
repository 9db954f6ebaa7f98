"""What the ASGI and the WSGI middleware share, request by request."""
