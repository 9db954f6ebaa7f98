"""The rehearsed world: what carries the requests while the controller looks on."""
