"""Archives: candidates that can be redone elsewhere, and backups of campaigns.

An archive is a zip file of JSON, CIF and text, with a manifest that names every file with its size
and sha256. Nothing in it is executed when it is read. Zip, because its directory says what is
inside before anything is unpacked, one file can be read without the others, and every operating
system opens it.
"""
