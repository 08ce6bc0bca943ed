"""The state in a base of Airtable."""
