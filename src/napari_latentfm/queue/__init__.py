"""The import path that scripts written for the first version use."""
