"""What the site is made with: pages that run, tables taken from the code, hooks of MkDocs."""
