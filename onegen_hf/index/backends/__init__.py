"""Engines that store and search vectors, behind one interface."""
