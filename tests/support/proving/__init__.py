"""A schema with what every service's has and one table of its own: what the common library is tested on."""
