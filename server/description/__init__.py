"""The description of the API: OpenAPI for programs, a page for people, both drawn from the code that answers."""
