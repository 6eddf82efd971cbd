"""chores"""
