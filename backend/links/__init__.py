"""Links to pages: a throw-away container gets the clip, and only through our side can it reach the internet (docs/links.md)."""
