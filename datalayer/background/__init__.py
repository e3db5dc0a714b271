"""Work that runs beside the writes: search indexing, the table of answers under review, and the deletion of files."""
