"""`tensorfleet`: the command. One module a noun; what is slow to import is imported where it is used."""
