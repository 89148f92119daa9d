"""What the node has said and the server has not yet stored: kept through crashes, power cuts and full cards."""
