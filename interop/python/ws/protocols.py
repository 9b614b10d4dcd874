def protocols(token):
    return ["throughline.v1", f"bearer.{token}"]
