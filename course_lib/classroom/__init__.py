"""What an instructor and a learner need around the lessons: progress, pre-flight, quizzes."""
