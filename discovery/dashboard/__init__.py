"""What a person looks at in a browser: campaigns, their candidates, the latent map; read-only.

page         what a page is, and which page an address means
pages        the pages, one module for each, and their registry
markup       the few forms that all pages are built of
frame        what stands around every page
application  the Dash application
requests     what a browser may ask of it
serving      the application on a port, beside health, figures and OPTIMADE
"""
