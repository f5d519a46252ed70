"""The guarded, polite fetcher; the content-addressed store; inspection."""
