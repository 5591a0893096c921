"""The command line as people meet it: on terminals, in real shells, and as processes that are signalled."""
