"""Reports: what a command has found out, as a page, pictures, tables, Markdown and JUnit XML."""
