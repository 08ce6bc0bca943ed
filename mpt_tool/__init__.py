"""Scaffold, run and audit migrations for extensions of the SoftwareOne Marketplace Platform."""
