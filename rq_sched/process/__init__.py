"""What every long-running process needs: its environment, its folders, its health, its logs; and the embedded
server."""
