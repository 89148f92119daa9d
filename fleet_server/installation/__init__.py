"""A real installation: what `fleet init` asks for (`plan`), how it is made (`making`), what an outside broker is given (`broker`)."""
