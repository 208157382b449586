"""The commands, by the flow they belong to. A module adds its own to the group when it is imported; `group` says which are where."""
