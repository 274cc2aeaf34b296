"""Servicers: each turns a request into events and look-ups, and documents into answers. None decides anything."""
