"""FWA (Li and Lyu, 2019): its model card is README.md."""
