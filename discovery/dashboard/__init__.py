"""What a person looks at in a browser: campaigns, their candidates, the latent map; read-only.

page            what a page is, and which page an address means
pages           the pages, one module for each, and their registry
frame           what stands around every page
application     the Dash application
guard           what a browser may ask of it
serving         the application on a port, beside health, figures and OPTIMADE
markup, links   the few forms that all pages are built of
live, shared    what changes while a campaign runs, read once for all browsers
campaign_*      the parts of a campaign's page; workforce: who works
candidate_*     the parts of a candidate's page; structure_view, pattern, pictures: what is drawn
latent_map      global codes in the plane
later, warming  parts that come after the page, and what is imported before it is needed
"""
