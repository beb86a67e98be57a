"""An object followed through video sequences from a box on their first frame."""
