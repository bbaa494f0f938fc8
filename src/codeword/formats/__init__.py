"""The .cw container and its payloads: bytes and integers, no model. docs/formats.md is normative."""
