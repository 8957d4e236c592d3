"A Hugging Face Space: this folder as it is"
import time

from cargan.deploy.app import serving

with serving(host='0.0.0.0', most_mb=20, most_minutes=3): # the Space's own server stands before it
    while True: time.sleep(60)
