"""Reports to look at: one HTML file each, which needs neither network nor other files."""
