"""Side by side with the peers: how a sceptical engineer checks what prefork claims. See README.md."""
