"""How the platform and Airtable are talked to."""
