"""The three doors: command, web page, folders of papers."""
