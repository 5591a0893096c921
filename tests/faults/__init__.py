"""Kills, full disks, lost leases and other accidents."""
