"""The contract: the OpenAPI document of the HTTP API, and the page that shows it. No cold start imports it."""
