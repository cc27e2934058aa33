"""The embedded server: the calls of Ollama's API that deployq makes, answered by llama-server.

One way through: api (routes) -> body (what was sent) -> store (tags on disk) -> pool (which
llama-server) -> engine (one of them) -> answers (Ollama's words for what it said).
"""
