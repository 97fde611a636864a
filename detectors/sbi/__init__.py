"""SBI, Self-Blended Images (Shiohara and Yamasaki, 2022): its model card is README.md."""
