"""Models x targets x precisions x devices: what one cell is, and how it is run in processes of its own."""
