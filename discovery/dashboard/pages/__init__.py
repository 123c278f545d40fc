"""The pages; a new one is a module with a constant ``PAGE``, named here."""

from discovery.dashboard.pages import (
    campaign,
    campaigns,
    candidate,
    candidates,
    duplicates,
    latent_map,
)

PAGES = (
    campaigns.PAGE,
    campaign.PAGE,
    candidates.PAGE,
    latent_map.PAGE,
    candidate.PAGE,
    duplicates.PAGE,
)
