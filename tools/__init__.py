"""What `make docs` needs beside Zensical."""
