"""The pages of the service: read without a script, each beside what the API says in JSON."""
